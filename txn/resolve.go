package txn

// readXID reads the transaction's id.
func (t *transaction) readXID(a answers) error {
	_, err := a.Exec()
	return err
}
