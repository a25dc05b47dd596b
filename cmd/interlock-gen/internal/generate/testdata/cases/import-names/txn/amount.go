package txn

// Amount has the package name of the library.
type Amount float64
