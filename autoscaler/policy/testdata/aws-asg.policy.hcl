scaling "gpu-af4065d3" {
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
      query  = "gpu"

      strategy "pass-through" {}
    }

    target "aws-asg-f07e2937" {
      aws_asg_name                  = "gpu-$${nodes} \"a\""
      node_drain_deadline           = "1m"
      node_filter_ignore_drain      = "true"
      node_filter_ignore_ineligible = "true"
      node_filter_ignore_init       = "true"
      node_pool                     = "muster-gpu"
      node_purge                    = "true"
      node_selector_strategy        = "empty_ignore_system"
      scale_in_protection           = "true"
    }
  }
}
