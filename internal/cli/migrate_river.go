package cli

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/interlock-go/interlock/internal/jobs"
)

// A riverMigrator is River's migrator on a database.
type riverMigrator struct{ *jobs.Migrator }

func openRiver(ctx context.Context, cfg *pgx.ConnConfig) (migrator, error) {
	m, err := jobs.NewMigrator(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return riverMigrator{m}, nil
}

// riverPatience is how long a migration waits for another one: as long as goose's.
const riverPatience = lockEverySeconds * lockTries * time.Second

func (m riverMigrator) up(ctx context.Context, _ target) ([]step, error) {
	ctx, cancel := context.WithTimeout(ctx, riverPatience)
	defer cancel()
	done, err := m.Up(ctx)
	return riverSteps("applied", done), err
}

func (m riverMigrator) down(ctx context.Context, to target) ([]step, error) {
	ctx, cancel := context.WithTimeout(ctx, riverPatience)
	defer cancel()
	done, err := m.Down(ctx, int(to.version), !to.given)
	return riverSteps("reverted", done), err
}

func (m riverMigrator) status(ctx context.Context, _ target) ([]step, error) {
	all, applied, err := m.Versions(ctx)
	if err != nil {
		return nil, err
	}
	var list []step
	for _, v := range all {
		state := "pending"
		if applied[v.Version] {
			state = "applied"
			delete(applied, v.Version)
		}
		list = append(list, step{Version: int64(v.Version), File: v.Name, State: state})
	}
	for version := range applied {
		list = append(list, step{Version: int64(version), State: "unknown"})
	}
	return list, nil
}

func (m riverMigrator) close() error {
	m.Close()
	return nil
}

func riverSteps(state string, done []rivermigrate.MigrateVersion) (list []step) {
	for _, d := range done {
		list = append(list, step{
			Version: int64(d.Version), File: d.Name, State: state, DurationMS: d.Duration.Milliseconds(),
		})
	}
	return list
}
