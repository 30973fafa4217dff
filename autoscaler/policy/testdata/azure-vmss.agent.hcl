log_level  = "info"
plugin_dir = "/plugins"

http {
  bind_address = "127.0.0.1"
  bind_port    = 10000
}

telemetry {
  prometheus_metrics = true
  disable_hostname   = true
}

nomad {
  address = "https://nomad.example:4646"
  token   = "secret"
}

# Policies of Nomad's own jobs are somebody else's.
policy {
  dir = "/policies"

  source "nomad" {
    enabled = false
  }
}

policy_eval {
  workers = {
    cluster    = 100
    horizontal = 1
  }
}

apm "muster" {
  driver = "muster-autoscaler"
  args   = ["apm"]

  config = {
    addr                 = "https://muster.example:4750"
    ca_cert              = "/etc/muster/ca.pem"
    device_plugin        = "/opt/muster/muster-device"
    dir                  = "/var/lib/muster autoscaler"
    nomad_config_inherit = "false"
    program              = "/usr/bin/nomad"
    servers              = "10.0.0.1:4647,10.0.0.2:4647"
    token_file           = "/etc/muster/token"
  }
}

target "azure-vmss-3fdc2753" {
  driver = "azure-vmss"

  config = {
    client_id       = "c"
    subscription_id = "s"
    tenant_id       = "t"
  }
}
