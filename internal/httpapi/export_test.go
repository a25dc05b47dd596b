package httpapi

import "net/http"

// A ProblemType is what tests see of one.
type ProblemType struct {
	Name   string
	Status int
	Title  string
}

// ProblemTypes are all there are.
func ProblemTypes() (all []ProblemType) {
	for _, t := range problemTypes {
		all = append(all, ProblemType{t.name, t.status, t.title})
	}
	return all
}

// Handle adds a handler that fails as fn does.
func (a *API) Handle(pattern string, fn func() error) {
	a.handle(pattern, func(*http.Request) (answer, error) { return answer{status: http.StatusOK}, fn() })
}

// Routes are the patterns of all handlers.
func (a *API) Routes() []string { return a.patterns }
