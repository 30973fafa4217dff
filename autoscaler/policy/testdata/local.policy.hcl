scaling "small-47e6348b" {
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
      query  = "small"

      strategy "pass-through" {}
    }

    target "muster-local" {
      cluster = "small"
    }
  }
}
