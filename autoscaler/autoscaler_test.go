package autoscaler

import (
	"reflect"
	"testing"
)

// TestSettings hands every setting through the agent's map.
func TestSettings(t *testing.T) {
	var s Settings
	fields := s.fields()
	if v := reflect.ValueOf(s); v.NumField() != len(fields) {
		t.Errorf("%d settings, and %d keys", v.NumField(), len(fields))
	}
	for key, field := range fields {
		*field = "the " + key
	}
	m := s.Map()
	m["nomad_address"] = "the agent's own"
	if got := Read(m); got != s {
		t.Errorf("read %+v, want %+v", got, s)
	}
}
