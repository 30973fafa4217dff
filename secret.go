package muster

import "encoding/json"

// Secret is what must not be shown: it is read from a request, handed to the
// vault, and neither printed nor written as JSON.
type Secret struct{ value string }

// NewSecretText makes a Secret of a text.
func NewSecretText(text string) Secret { return Secret{text} }

// Reveal returns the text. Only the vault's adapter calls it.
func (s Secret) Reveal() string { return s.value }

// String shows nothing of it.
func (s Secret) String() string { return "(hidden)" }

// GoString shows nothing of it.
func (s Secret) GoString() string { return "(hidden)" }

// MarshalJSON writes nothing of it.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"(hidden)"`), nil }

// UnmarshalJSON reads a text.
func (s *Secret) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &s.value) }
