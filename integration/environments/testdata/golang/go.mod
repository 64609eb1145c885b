module example.org/hello

go 1.24

require golang.org/x/text v0.40.0
