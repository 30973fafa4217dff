scaling "big-191e01d4" {
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
      query  = "big"

      strategy "pass-through" {}
    }

    target "azure-vmss-3fdc2753" {
      node_drain_deadline           = "1m"
      node_filter_ignore_drain      = "true"
      node_filter_ignore_ineligible = "true"
      node_filter_ignore_init       = "true"
      node_pool                     = "muster-big"
      node_purge                    = "true"
      node_selector_strategy        = "empty_ignore_system"
      resource_group                = "rg"
      vm_scale_set                  = "nodes"
    }
  }
}
