package order

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Address is where an order goes.
type Address struct {
	Name       string `json:"name"`
	Street     string `json:"street"`
	PostalCode string `json:"postal_code,omitempty"` // not everywhere is one
	City       string `json:"city"`
	Country    string `json:"country"` // ISO 3166-1 alpha-2, such as "GB"
}

// document is the address as it is stored.
func (a Address) document() (json.RawMessage, error) {
	for field, text := range map[string]string{"Address.Name": a.Name, "Address.Street": a.Street, "Address.City": a.City} {
		if text == "" || !storable(text) {
			return nil, &InvalidError{Field: field}
		}
	}
	if !storable(a.PostalCode) {
		return nil, &InvalidError{Field: "Address.PostalCode"}
	}
	if len(a.Country) != 2 || strings.Trim(a.Country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return nil, &InvalidError{Field: "Address.Country"}
	}
	document, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode an address: %w", err)
	}
	return document, nil
}

// storable reports whether PostgreSQL can store a text as it is. JSON would change it silently.
func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }
