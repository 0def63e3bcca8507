package pgoutput

import (
	"testing"

	"github.com/waybill-data/waybill/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }
