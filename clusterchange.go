package muster

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// ClusterChange changes a cluster: what is left out stays.
type ClusterChange struct {
	Size       *string           `json:"size,omitempty" doc:"Nodes of another size leave when they are idle."`
	Min        *int              `json:"min,omitempty"`
	Max        *int              `json:"max,omitempty"`
	Idle       *Duration         `json:"idle_seconds,omitempty"`
	Workspaces *[]string         `json:"workspaces,omitempty"`
	Group      map[string]string `json:"group,omitempty" doc:"All of it."`
	OS         *string           `json:"os,omitempty"`
	OnShrink   *OnShrink         `json:"on_shrink,omitempty" enum:"wait,requeue,terminate"`
	RunAs      *string           `json:"run_as,omitempty"`
	Setup      *Setup            `json:"setup,omitempty" doc:"All of it; one that says nothing is none."`
	Health     *Health           `json:"health,omitempty" doc:"All of it; one that says nothing is none."`
	Paused     *bool             `json:"paused,omitempty"`
}

// Over returns a change with what another says over it.
func (c ClusterChange) Over(o ClusterChange) ClusterChange {
	c.Size, c.Min, c.Max, c.Idle = cmp.Or(o.Size, c.Size), cmp.Or(o.Min, c.Min), cmp.Or(o.Max, c.Max), cmp.Or(o.Idle, c.Idle)
	c.Workspaces, c.Paused, c.RunAs = cmp.Or(o.Workspaces, c.Workspaces), cmp.Or(o.Paused, c.Paused), cmp.Or(o.RunAs, c.RunAs)
	c.OS, c.OnShrink = cmp.Or(o.OS, c.OS), cmp.Or(o.OnShrink, c.OnShrink)
	c.Setup, c.Health = cmp.Or(o.Setup, c.Setup), cmp.Or(o.Health, c.Health)
	if o.Group != nil {
		c.Group = o.Group
	}
	return c
}

// Empty reports whether nothing is to be changed.
func (c ClusterChange) Empty() bool {
	return c.Size == nil && c.Min == nil && c.Max == nil && c.Idle == nil && c.Workspaces == nil && c.Group == nil && c.Paused == nil && c.RunAs == nil && c.OS == nil && c.OnShrink == nil && c.Setup == nil && c.Health == nil
}

// Apply changes a cluster, and says in words what is different.
func (c ClusterChange) Apply(k *Cluster) string {
	var words []string
	set(&words, "size", &k.Size, c.Size)
	set(&words, "min", &k.Min, c.Min)
	set(&words, "max", &k.Max, c.Max)
	set(&words, "idle time", &k.Idle, c.Idle)
	if c.Paused != nil && *c.Paused != k.Paused {
		k.Paused = *c.Paused
		words = append(words, map[bool]string{true: "paused", false: "resumed"}[k.Paused])
	}
	set(&words, "os", &k.OS, c.OS)
	if c.OnShrink != nil {
		k.OnShrink = cmp.Or(k.OnShrink, ShrinkWait)
		set(&words, "on shrink", &k.OnShrink, c.OnShrink)
	}
	set(&words, "run-as user", &k.RunAs, c.RunAs)
	replace(&words, "set-up", &k.Setup, c.Setup, c.Setup != nil && c.Setup.none())
	replace(&words, "health check", &k.Health, c.Health, c.Health != nil && c.Health.none())
	if c.Group != nil && !maps.Equal(c.Group, k.Group) {
		k.Group = c.Group
		words = append(words, "another group")
	}
	if c.Workspaces != nil && !slices.Equal(*c.Workspaces, k.Workspaces) {
		k.Workspaces = *c.Workspaces
		words = append(words, "workspaces "+cmp.Or(strings.Join(k.Workspaces, ", "), "all"))
	}
	return strings.Join(words, ", ")
}

// set changes a value, and tells of it where it is another.
func set[T comparable](words *[]string, what string, value, to *T) {
	if to != nil && *to != *value {
		*words = append(*words, fmt.Sprintf("%s %s → %s", what, shown(*value), shown(*to)))
		*value = *to
	}
}

// shown is a value in words; one that is empty is none.
func shown(v any) string { return cmp.Or(fmt.Sprint(v), "none") }

// replace changes a thing as a whole, or takes it away where the new one is none,
// and tells of it where it is another.
func replace[T any](words *[]string, what string, value **T, to *T, none bool) {
	if to == nil {
		return
	}
	article := "another"
	if none {
		article, to = "no", nil
	} else if *value == nil {
		article = "a"
	}
	if !reflect.DeepEqual(*value, to) {
		*words = append(*words, article+" "+what)
		*value = to
	}
}
