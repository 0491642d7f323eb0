//go:build tools

// Package runc pins what starts the test cluster's containers.
package runc

import (
	_ "github.com/opencontainers/runc"
)
