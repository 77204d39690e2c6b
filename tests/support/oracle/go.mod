module oracle

go 1.26.0

require (
	github.com/distribution/reference v0.6.0
	gopkg.in/evanphx/json-patch.v4 v4.13.0
)

require github.com/opencontainers/go-digest v1.0.0 // indirect
