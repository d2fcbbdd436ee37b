//go:build tools

// Pins what tests/run builds: go.sum holds every byte of it.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
