package policy

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// cloud is as much of Amazon's EC2 Auto Scaling as the stock target asks for.
type cloud struct {
	t *testing.T

	mu        sync.Mutex            // guards what follows
	desired   map[string]int        // by group
	instances map[string][]string   // by group
	updates   []string              // group=number
	ended     []string              // instances, in the order in which they were let go
	end       func(id string) error // ends an instance's machine
}

// newCloud makes Amazon's API and leads the agents to it.
func newCloud(t *testing.T) *cloud {
	c := &cloud{t: t, desired: map[string]int{}, instances: map[string][]string{}, end: func(string) error { return errors.New("none is to go") }}
	stub := httptest.NewServer(c)
	t.Cleanup(stub.Close)
	t.Setenv("AWS_ENDPOINT_URL", stub.URL)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	return c
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	action := r.Form.Get("Action")
	c.mu.Lock()
	defer c.mu.Unlock()
	result, err := c.act(action, r.Form)
	if err != nil {
		c.t.Errorf("Amazon refuses %s: %v", action, err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<%[1]sResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

// act does what is asked, and returns what the answer holds.
func (c *cloud) act(action string, form url.Values) (string, error) {
	name := form.Get("AutoScalingGroupName")
	switch action {
	case "DescribeAutoScalingGroups":
		return c.describe(form.Get("AutoScalingGroupNames.member.1")), nil
	case "DescribeScalingActivities":
		return c.activities(form), nil
	case "DescribeInstanceRefreshes":
		return "<InstanceRefreshes></InstanceRefreshes>", nil
	case "UpdateAutoScalingGroup":
		number := form.Get("DesiredCapacity")
		c.updates = append(c.updates, name+"="+number)
		c.desired[name], _ = strconv.Atoi(number)
		for i := len(c.instances[name]); i < c.desired[name]; i++ {
			c.instances[name] = append(c.instances[name], fmt.Sprintf("i-%d", i))
		}
		return "", nil
	case "TerminateInstanceInAutoScalingGroup":
		return c.terminate(form.Get("InstanceId"), form.Get("ShouldDecrementDesiredCapacity"))
	case "CreateOrUpdateTags": // where the target notes what it has drained and ended
		return "", nil
	}
	return "", fmt.Errorf("unknown action")
}

// describe tells of a group.
func (c *cloud) describe(name string) string {
	instances := ""
	for _, id := range c.instances[name] {
		instances += fmt.Sprintf("<member><InstanceId>%s</InstanceId><HealthStatus>Healthy</HealthStatus><LifecycleState>InService</LifecycleState>"+
			"<AvailabilityZone>a</AvailabilityZone><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>", id)
	}
	return fmt.Sprintf("<AutoScalingGroups><member><AutoScalingGroupName>%s</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>9</MaxSize><DesiredCapacity>%d</DesiredCapacity>"+
		"<AvailabilityZones><member>a</member></AvailabilityZones><Instances>%s</Instances></member></AutoScalingGroups>", name, c.desired[name], instances)
}

// activities tells of those that are asked for, or of all, the last one first. Each
// is over at once, and is called as the instance that it ended.
func (c *cloud) activities(form url.Values) string {
	list := ""
	for _, id := range slices.Backward(c.ended) {
		asked := !form.Has("ActivityIds.member.1")
		for key, values := range form {
			asked = asked || strings.HasPrefix(key, "ActivityIds.member.") && values[0] == id
		}
		if asked {
			list += fmt.Sprintf("<member><ActivityId>%s</ActivityId><Progress>100</Progress><EndTime>%s</EndTime></member>", id, time.Now().UTC().Format(time.RFC3339))
		}
	}
	return "<Activities>" + list + "</Activities>"
}

// terminate lets an instance go, and the number with it.
func (c *cloud) terminate(id, decrement string) (string, error) {
	for name, ids := range c.instances {
		i := slices.Index(ids, id)
		if i < 0 {
			continue
		}
		if decrement != "true" {
			return "", fmt.Errorf("the number of %s would stay: ShouldDecrementDesiredCapacity is %q", name, decrement)
		}
		if err := c.end(id); err != nil {
			return "", err
		}
		c.instances[name] = slices.Delete(ids, i, i+1)
		c.desired[name]--
		c.ended = append(c.ended, id)
		return fmt.Sprintf("<Activity><ActivityId>%s</ActivityId><Progress>0</Progress></Activity>", id), nil
	}
	return "", fmt.Errorf("there is no instance %q", id)
}

// reaches waits until a group's number is that, and its instances are as many.
func (c *cloud) reaches(name string, nodes int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("group %s has %d instances", name, nodes), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.desired[name] == nodes && len(c.instances[name]) == nodes
	})
}

// TestAWS has the stock agent with its own target set the capacity of a group of
// Amazon's, on a stub. What is wrong with another provider does not hinder it.
func TestAWS(t *testing.T) {
	amazon := newCloud(t)
	s := newSite(t)
	group := func(name, region string) map[string]string {
		return map[string]string{"aws_asg_name": name, "aws_region": region}
	}
	s.add("gpu", muster.ProviderAWS, group("the-group", "eu-central-1"))
	s.add("broken", muster.ProviderAzure, map[string]string{"vm_scale_set": "nodes"}) // no credentials: its agent does not start
	s.want("gpu", 3)
	s.run(t)
	amazon.reaches("the-group", 3)
	s.add("other", muster.ProviderAWS, group("other-group", "us-east-1")) // the agent needs another target for that
	s.want("other", 2)
	amazon.reaches("other-group", 2)
	amazon.mu.Lock()
	defer amazon.mu.Unlock()
	if got := strings.Join(amazon.updates, " "); got != "the-group=3 other-group=2" {
		t.Errorf("updates %s", got)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, ".agents", "*"))
	if err != nil || len(files) < 4 {
		t.Errorf("agents %v, %v: want one a provider", files, err)
	}
}
