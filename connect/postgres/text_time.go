package postgres

import (
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond
	// maxYear is a little beyond the server's last date, 5874897-12-31.
	maxYear = 5_900_000
	// maxMomentDay is the last whole day whose microseconds since 1970 fit into 64 bits, in year 294247. The
	// server counts from 2000 and ends in 294276.
	maxMomentDay = 106_751_990
)

// decodeClock reads the kinds that tell a date or a time.
func decodeClock(kind waybill.Kind, text string) (waybill.Value, error) {
	v, ok := waybill.Value{}, false
	switch kind {
	case waybill.KindDate:
		v, ok = parseDateValue(text)
	case waybill.KindTime:
		micros, rest, good := parseTime(text)
		v, ok = waybill.TimeValue(micros), good && rest == ""
	case waybill.KindTimeTZ:
		micros, rest, good := parseTime(text)
		v, ok = waybill.TimeTZValue(micros, rest), good && isOffset(rest)
	case waybill.KindTimestamp, waybill.KindInstant:
		v, ok = parseMoment(kind, text)
	}
	if !ok {
		return badText(kind, text, nil)
	}
	return v, nil
}

func infinite(text string) (int64, bool) {
	switch text {
	case "infinity":
		return waybill.Forever, true
	case "-infinity":
		return waybill.BeforeForever, true
	}
	return 0, false
}

func parseDateValue(text string) (waybill.Value, bool) {
	if n, ok := infinite(text); ok {
		return waybill.DateValue(n), true
	}
	text, bc := strings.CutSuffix(text, " BC")
	days, rest, ok := parseDate(text, bc)
	return waybill.DateValue(days), ok && rest == ""
}

// parseMoment reads "2024-02-29 12:34:56.789012", with "+00" for an instant, with " BC" before our era. The
// server's last 29 years do not fit into the count of microseconds and stay literals.
func parseMoment(kind waybill.Kind, text string) (waybill.Value, bool) {
	micros, ok := infinite(text)
	if !ok {
		wall, bc := strings.CutSuffix(text, " BC")
		days, rest, dated := parseDate(wall, bc)
		if !dated || rest == "" || rest[0] != ' ' {
			return waybill.Value{}, false
		}
		clock, rest, timed := parseTime(rest[1:])
		zone := ""
		if kind == waybill.KindInstant {
			zone = "+00" // the session's time zone is UTC
		}
		switch {
		case !timed || rest != zone:
			return waybill.Value{}, false
		case days > maxMomentDay:
			return waybill.LiteralValue(text), true
		}
		micros = days*microsPerDay + clock
	}
	if kind == waybill.KindInstant {
		return waybill.InstantValue(micros), true
	}
	return waybill.TimestampValue(micros), true
}

// parseDate reads year-month-day and returns the days since 1970-01-01 and what follows.
func parseDate(s string, bc bool) (days int64, rest string, ok bool) {
	dash := strings.IndexByte(s, '-')
	if dash < 4 || len(s) < dash+6 || s[dash+3] != '-' {
		return 0, "", false
	}
	year, okYear := parseInt(s[:dash])
	month, okMonth := twoDigits(s[dash+1:])
	day, okDay := twoDigits(s[dash+4:])
	if !okYear || !okMonth || !okDay || year < 1 || year > maxYear || month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, "", false
	}
	if bc {
		year = 1 - year
	}
	return waybill.Days(year, month, day), s[dash+6:], true
}

// parseTime reads hh:mm:ss with up to six fractional digits and returns what follows.
func parseTime(s string) (micros int64, rest string, ok bool) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return 0, "", false
	}
	hours, okHours := twoDigits(s)
	minutes, okMinutes := twoDigits(s[3:])
	seconds, okSeconds := twoDigits(s[6:])
	if !okHours || !okMinutes || !okSeconds || hours > 24 || minutes > 59 || seconds > 59 {
		return 0, "", false
	}
	micros = (int64(hours)*3600 + int64(minutes)*60 + int64(seconds)) * microsPerSecond
	rest = s[8:]
	if rest == "" || rest[0] != '.' {
		return micros, rest, true
	}
	scale, i := int64(microsPerSecond/10), 1
	for ; i < len(rest) && rest[i]-'0' <= 9; i++ {
		if scale == 0 {
			return 0, "", false
		}
		micros += int64(rest[i]-'0') * scale
		scale /= 10
	}
	return micros, rest[i:], i > 1
}

func twoDigits(s string) (int, bool) {
	tens, ones := s[0]-'0', s[1]-'0'
	return int(tens)*10 + int(ones), tens <= 9 && ones <= 9
}

// isOffset reports whether s is a zone's offset: +02, -03:30, +15:59:59.
func isOffset(s string) bool {
	if len(s) != 3 && len(s) != 6 && len(s) != 9 || s[0] != '+' && s[0] != '-' {
		return false
	}
	for i := 1; i < len(s); i += 3 {
		if _, ok := twoDigits(s[i:]); !ok || i > 1 && s[i-1] != ':' {
			return false
		}
	}
	return true
}

// appendClock writes the kinds that tell a date or a time as the server prints them.
func appendClock(dst []byte, v waybill.Value) []byte {
	n := v.Int()
	switch v.Kind() {
	case waybill.KindTime:
		return appendTime(dst, n)
	case waybill.KindTimeTZ:
		return append(appendTime(dst, n), v.Text()...)
	}
	switch n {
	case waybill.Forever:
		return append(dst, "infinity"...)
	case waybill.BeforeForever:
		return append(dst, "-infinity"...)
	}
	days, micros := n, int64(0)
	if v.Kind() != waybill.KindDate {
		if days, micros = n/microsPerDay, n%microsPerDay; micros < 0 {
			days, micros = days-1, micros+microsPerDay
		}
	}
	year, month, day := waybill.Civil(days)
	bc := year < 1
	if bc {
		year = 1 - year
	}
	dst = appendDate(dst, year, month, day)
	if v.Kind() != waybill.KindDate {
		dst = appendTime(append(dst, ' '), micros)
		if v.Kind() == waybill.KindInstant {
			dst = append(dst, "+00"...)
		}
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

func appendDate(dst []byte, year int64, month, day int) []byte {
	for limit := int64(1000); limit > 1 && year < limit; limit /= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, year, 10)
	dst = appendTwo(append(dst, '-'), int64(month))
	return appendTwo(append(dst, '-'), int64(day))
}

// appendTime writes hh:mm:ss and the fraction without trailing zeros.
func appendTime(dst []byte, micros int64) []byte {
	if micros < 0 {
		dst, micros = append(dst, '-'), -micros
	}
	seconds, fraction := micros/microsPerSecond, micros%microsPerSecond
	if hours := seconds / 3600; hours < 100 {
		dst = appendTwo(dst, hours)
	} else {
		dst = strconv.AppendInt(dst, hours, 10)
	}
	dst = appendTwo(append(dst, ':'), seconds/60%60)
	dst = appendTwo(append(dst, ':'), seconds%60)
	if fraction == 0 {
		return dst
	}
	dst = append(dst, '.')
	for scale := int64(microsPerSecond / 10); fraction > 0; scale /= 10 {
		dst = append(dst, byte('0'+fraction/scale))
		fraction %= scale
	}
	return dst
}

func appendTwo(dst []byte, n int64) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}
