# pint's house rules for rules.yml: pint --config alerts/pint.hcl --offline lint alerts/rules.yml
rule {
  match {
    kind = "alerting"
  }
  label "severity" {
    value    = "critical|warning|info"
    required = true
    severity = "bug"
  }
  label "service" {
    value    = "driftgate"
    required = true
    severity = "bug"
  }
  annotation "summary" {
    required = true
    severity = "bug"
  }
  annotation "description" {
    required = true
    severity = "bug"
  }
  annotation "runbook_url" {
    value    = "https?://.+#[a-z-]+"
    required = true
    severity = "bug"
  }
  annotation "dashboard_url" {
    value    = "https?://.+"
    required = true
    severity = "bug"
  }
  for {
    severity = "bug"
    min      = "0s"
    max      = "1d"
  }
  keep_firing_for {
    severity = "bug"
    min      = "1m"
    max      = "1d"
  }
}

rule {
  match {
    kind = "recording"
  }
  name "[a-z_]+:driftgate_[a-z_]+:[a-z0-9]+" {
    severity = "bug"
    comment  = "level:metric:operations"
  }
}
