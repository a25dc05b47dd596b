package query

// ParseJSON is the parser's own answer.
var ParseJSON = parseJSON
