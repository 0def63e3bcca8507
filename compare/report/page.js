"use strict";
(() => {
  const size = 100;
  const text = document.getElementById("rows").textContent;
  const about = JSON.parse(document.getElementById("about").textContent);
  // Lines are parsed when they are shown: only where each begins is kept.
  const byTable = new Map();
  for (let from = 0; from < text.length;) {
    let end = text.indexOf("\n", from);
    if (end < 0) end = text.length;
    const head = /^\{"t":(\d+),"k":"(\w+)"/.exec(text.slice(from, from + 60));
    if (head) {
      const number = Number(head[1]);
      if (!byTable.has(number)) byTable.set(number, []);
      byTable.get(number).push({ from, end, kind: head[2] });
    }
    from = end + 1;
  }
  const make = (name, cls, content) => {
    const e = document.createElement(name);
    if (cls) e.className = cls;
    if (content !== undefined) e.textContent = content;
    return e;
  };
  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const value = (v) => v === null || v === undefined ? make("span", "value null", "NULL") : make("span", "value", visible(v));
  // What looks like nothing, or like something else, is shown as its number.
  const visible = (s) => s === "" ? "(empty)" : s.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00a0\u00ad\u0300-\u036f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]|^ | $/g,
    (c) => c === " " ? "\u2423" : "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  // The part of a value in which it differs from the other one is marked.
  const marked = (v, other) => {
    const e = value(v);
    if (v === null || v === undefined || other === null || other === undefined || v === "" || v === other) return e;
    let a = 0, b = 0;
    const most = Math.min(v.length, other.length);
    while (a < most && v[a] === other[a]) a++;
    while (b < most - a && v[v.length - 1 - b] === other[other.length - 1 - b]) b++;
    const shown = [v.slice(0, a), v.slice(a, v.length - b), v.slice(v.length - b)];
    e.textContent = "";
    e.append(edge(shown[0]), make("mark", "", edge(shown[1])), edge(shown[2]));
    return e;
  };
  const edge = (s) => s === "" ? "" : visible(s);
  const difference = (d) => {
    const box = make("div", "difference");
    box.append(make("span", "kind " + d.k, d.k + (d.n ? " × " + d.n : "")));
    for (const f of d.y || []) {
      const field = make("span", "field");
      field.append(make("b", "", f.column + " = "), value(f.value));
      box.append(field);
    }
    if (!d.c || d.c.length === 0) return box;
    const table = make("table", "cells");
    if (about.values) {
      const head = make("tr");
      head.append(make("th", "", "column"), make("th", "", "source"), make("th", "", "target"));
      table.append(head);
    }
    for (const c of d.c) {
      const line = make("tr");
      line.append(make("th", "", c.column + (c.at ? " (from byte " + c.at + ")" : "")));
      if (about.values) {
        const source = make("td", "source"), target = make("td", "target");
        source.append(marked(c.source, c.target));
        target.append(marked(c.target, c.source));
        line.append(source, target);
      }
      table.append(line);
    }
    box.append(table);
    return box;
  };
  const show = (number, detail, page, kind) => {
    const all = (byTable.get(number) || []).filter((r) => !kind || r.kind === kind);
    const pages = Math.max(1, Math.ceil(all.length / size));
    page = Math.min(Math.max(0, page), pages - 1);
    const rows = detail.querySelector(".rows");
    rows.replaceChildren(...all.slice(page * size, (page + 1) * size).map((r) => difference(JSON.parse(text.slice(r.from, r.end)))));
    const pager = detail.querySelector(".pager");
    const back = make("button", "", "‹ back"), on = make("button", "", "next ›"), choose = make("select");
    for (const k of ["", "missing", "extra", "changed"]) {
      const o = make("option", "", k || "all kinds");
      o.value = k;
      o.selected = k === kind;
      choose.append(o);
    }
    back.disabled = page === 0;
    on.disabled = page === pages - 1;
    back.onclick = () => show(number, detail, page - 1, kind);
    on.onclick = () => show(number, detail, page + 1, kind);
    choose.onchange = () => show(number, detail, 0, choose.value);
    const upTo = Math.min(all.length, (page + 1) * size);
    const found = Number(detail.dataset.found);
    let says = all.length === 0 ? "no differences in this page" : `${grouped(page * size + 1)} to ${grouped(upTo)} of ${grouped(all.length)} differences in this page`;
    if (!kind && found > all.length) says += `; ${grouped(found)} rows were found`;
    pager.replaceChildren(choose, back, on, make("span", "", says));
  };
  const toggle = (row) => {
    const number = Number(row.dataset.table), detail = document.getElementById("detail-" + number);
    detail.hidden = !detail.hidden;
    row.classList.toggle("open", !detail.hidden);
    if (!detail.hidden && !detail.dataset.shown) {
      detail.dataset.shown = "yes";
      show(number, detail, 0, "");
    }
  };
  const rows = document.querySelectorAll("tr[data-table]");
  for (const row of rows) {
    row.onclick = () => toggle(row);
    row.onkeydown = (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); toggle(row); } };
  }
  if (rows.length > 0) toggle(rows[0]);
  const foot = document.getElementById("foot");
  foot.textContent = grouped(about.written) + " differences are in this page" +
    (about.written < about.given ? `, which is limited; ${grouped(about.given)} were found.` : ".") +
    (about.values ? "" : " The ledger keeps keys and names of columns, no other values: give the file of compare run --differences to show both sides.");
})();
