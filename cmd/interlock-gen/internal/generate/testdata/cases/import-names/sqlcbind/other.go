package sqlcbind

import "time"

// Other has the package name of the library.
type Other time.Time
