package postgres

import (
	"context"

	"github.com/waybill-data/waybill"
)

// kind is the connector's kind, and the dialect of its table versions.
const kind = "postgres"

// Connector returns the connector.
func Connector() *waybill.Connector {
	return &waybill.Connector{
		Kind: kind,
		Settings: []waybill.Setting{
			{Name: fullIdentity, Default: "", Help: `"full" lets a link run ALTER TABLE ... REPLICA IDENTITY FULL on tables without a key, which the server asks for before it lets them be followed`},
			{Name: settingExisting, Default: "stop", Help: `what a link does with a table of the target that has rows it did not bring: "stop", or "truncate" to empty it`},
			{Name: backlogSetting, Default: "32", Help: `from how many megabytes of log on a link that is behind reads in large pieces through a temporary copy of its slot, which is faster; "off": never`},
		},
		OpenView: func(ctx context.Context, e waybill.Endpoint, o waybill.ViewOptions) (waybill.View, error) {
			v, err := openView(ctx, e, o)
			if err != nil {
				return nil, err // a nil *view in the interface would not be nil
			}
			return v, nil
		},
		OpenChanges: func(ctx context.Context, e waybill.Endpoint, o waybill.ChangeOptions) (waybill.ChangeSource, error) {
			c, err := openChanges(ctx, e, o)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		OpenSink:         openSink,
		Release:          release,
		ComparePositions: comparePositions,
		State:            streamState,
		Drop:             dropStream,
		Probe:            probe,
		Capture:          capture(),
		Statements:       statements(),
	}
}
