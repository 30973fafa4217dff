scaling "tpu-4f87645e" {
  enabled = true
  type    = "cluster"
  min     = 0
  max     = 10000

  policy {
    cooldown             = "1s"
    cooldown_on_scale_up = "1s"
    evaluation_interval  = "2s"
    on_check_error       = "fail"

    check "wanted" {
      source = "muster"
      query  = "tpu"

      strategy "pass-through" {}
    }

    target "gce-mig" {
      mig_name                      = "nodes"
      node_drain_deadline           = "5m"
      node_filter_ignore_drain      = "true"
      node_filter_ignore_ineligible = "true"
      node_filter_ignore_init       = "true"
      node_pool                     = "muster-tpu"
      node_purge                    = "true"
      node_selector_strategy        = "empty_ignore_system"
      project                       = "p"
      region                        = "europe-west3"
    }
  }
}
