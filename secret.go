package waybill

// Secret is text that must not be seen: it prints as *** everywhere (invariant 9). The zero Secret is empty.
type Secret struct{ text string }

// NewSecret wraps a secret.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text. Call it only where the secret is handed to the system it is for.
func (s Secret) Reveal() string { return s.text }

// IsEmpty reports whether there is no secret.
func (s Secret) IsEmpty() bool { return s.text == "" }

// String returns ***.
func (s Secret) String() string { return "***" }

// GoString returns ***.
func (s Secret) GoString() string { return "***" }

// MarshalText writes ***.
func (s Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }
