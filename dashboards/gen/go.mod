module driftgate/dashboards/gen

go 1.26.0

require github.com/grafana/grafana-foundation-sdk/go v0.0.12

require github.com/goccy/go-yaml v1.19.2
