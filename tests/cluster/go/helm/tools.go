//go:build tools

// Package helm pins the Helm that tests of the charts run.
package helm

import (
	_ "helm.sh/helm/v4/cmd/helm"
)
