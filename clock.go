package waybill

import (
	"fmt"
	"strconv"
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond
)

// Civil returns the proleptic Gregorian year, month and day of a number of days since 1970-01-01. Year 0 is
// 1 BC. After Howard Hinnant's days_from_civil, chrono-compatible low-level date algorithms.
func Civil(days int64) (year int64, month, day int) {
	z := days + 719468
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp) + 3
	if month > 12 {
		month -= 12
	}
	year = yoe + era*400
	if month <= 2 {
		year++
	}
	return year, month, day
}

// Days returns the number of days from 1970-01-01 to a proleptic Gregorian date. Year 0 is 1 BC.
func Days(year int64, month, day int) int64 {
	if month <= 2 {
		year--
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	yoe := year - era*400
	mp := int64(month+9) % 12
	doy := (153*mp+2)/5 + int64(day) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

func appendClock(dst []byte, v Value) []byte {
	n := v.Int()
	switch {
	case v.kind == KindInt:
		return strconv.AppendInt(dst, n, 10)
	case v.kind == KindTime:
		return appendTime(dst, n)
	case v.kind == KindTimeTZ:
		return append(appendTime(dst, n), v.s...)
	case n == Forever:
		return append(dst, "infinity"...)
	case n == BeforeForever:
		return append(dst, "-infinity"...)
	case v.kind == KindDate:
		return appendDate(dst, n)
	}
	days, micros := n/microsPerDay, n%microsPerDay
	if micros < 0 {
		days, micros = days-1, micros+microsPerDay
	}
	dst = append(appendDate(dst, days), ' ')
	dst = appendTime(dst, micros)
	if v.kind == KindInstant {
		dst = append(dst, 'Z')
	}
	return dst
}

func appendDate(dst []byte, days int64) []byte {
	y, m, d := Civil(days)
	return fmt.Appendf(dst, "%04d-%02d-%02d", y, m, d)
}

func appendTime(dst []byte, micros int64) []byte {
	if micros < 0 {
		dst, micros = append(dst, '-'), -micros
	}
	seconds := micros / microsPerSecond
	dst = fmt.Appendf(dst, "%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	if fraction := micros % microsPerSecond; fraction != 0 {
		dst = fmt.Appendf(dst, ".%06d", fraction)
	}
	return dst
}
