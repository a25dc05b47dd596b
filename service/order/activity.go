package order

import (
	"encoding/json"
	"fmt"

	"github.com/interlock-go/interlock/db"
)

// logActivity notes what was done about a user's order, in the transaction that does it.
func logActivity(q *db.QueuedQueries, user int64, action string, order int64, details map[string]any) error {
	if details == nil {
		details = map[string]any{}
	}
	object, err := json.Marshal(details)
	if err != nil {
		return fmt.Errorf("log activity: %w", err)
	}
	q.AddActivity(db.AddActivityParams{UserID: user, Action: action, Entity: fmt.Sprintf("orders:%d", order), Details: object})
	return nil
}
