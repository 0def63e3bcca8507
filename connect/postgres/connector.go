package postgres

import waybill "github.com/waybill-data/waybill"

// Kind is the connector's kind, and the dialect of its table versions.
const kind = "postgres"

// Connector returns the connector.
func Connector() *waybill.Connector {
	return &waybill.Connector{
		Kind:             kind,
		ComparePositions: comparePositions,
	}
}
