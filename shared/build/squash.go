package build

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// squash makes one layer of all that was laid on the base image, and marks the
// history rows so that only the last of them has a layer.
func (e *engine) squash(ctx context.Context, t tree.Tree, p frontend.PlatformResult) (tree.Tree, []byte, error) {
	base, made := t.Split()
	if len(made) < 2 {
		return t, p.Config, nil
	}
	tables := make([]*layer.Table, len(made))
	for i, l := range made {
		var err error
		if tables[i], err = l.Table(ctx); err != nil {
			return t, nil, err
		}
	}
	config, err := oneLayerHistory(p.Config, p.BaseConfig)
	if err != nil {
		return t, nil, fmt.Errorf("squash the history: %w", err)
	}
	return base.With(e.workspace.FromTable(layer.Squash(tables...))), config, nil
}

// oneLayerHistory leaves one row with a layer among those that the base has not.
func oneLayerHistory(config, base []byte) ([]byte, error) {
	skip, err := historyLen(base)
	if err != nil {
		return nil, err
	}
	var c map[string]json.RawMessage
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	var rows []map[string]any
	if err := json.Unmarshal(c["history"], &rows); err != nil {
		return nil, err
	}
	found := false
	for i := len(rows) - 1; i >= skip; i-- {
		if empty, _ := rows[i]["empty_layer"].(bool); empty {
			continue
		}
		if found {
			rows[i]["empty_layer"] = true
		}
		found = true
	}
	if c["history"], err = json.Marshal(rows); err != nil {
		return nil, err
	}
	return json.Marshal(c)
}

func historyLen(config []byte) (int, error) {
	if len(config) == 0 {
		return 0, nil
	}
	var c struct {
		History []json.RawMessage `json:"history"`
	}
	err := json.Unmarshal(config, &c)
	return len(c.History), err
}
