// Package connect is the explicit list of connectors.
package connect

import (
	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/postgres"
)

// All returns every connector, each kind once.
func All() []*waybill.Connector {
	return []*waybill.Connector{postgres.Connector()}
}
