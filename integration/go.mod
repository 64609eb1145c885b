module github.com/strake-build/strake/integration

go 1.26.8

require github.com/strake-build/strake/shared v0.0.0

require (
	github.com/google/go-containerregistry v0.22.1 // indirect
	github.com/rogpeppe/go-internal v1.16.0 // indirect
)

replace github.com/strake-build/strake/shared => ../shared
