package policy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/muster-ml/muster"
)

// cloud is as much of Amazon's EC2 Auto Scaling as the stock target asks for.
type cloud struct {
	mu      sync.Mutex     // guards what follows
	desired map[string]int // by group
	updates []string       // group=number
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	action, result := r.Form.Get("Action"), ""
	switch action {
	case "DescribeAutoScalingGroups":
		name := r.Form.Get("AutoScalingGroupNames.member.1")
		instances := ""
		for i := range c.desired[name] {
			instances += fmt.Sprintf("<member><InstanceId>i-%d</InstanceId><HealthStatus>Healthy</HealthStatus><LifecycleState>InService</LifecycleState>"+
				"<AvailabilityZone>a</AvailabilityZone><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>", i)
		}
		result = fmt.Sprintf("<AutoScalingGroups><member><AutoScalingGroupName>%s</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>9</MaxSize><DesiredCapacity>%d</DesiredCapacity>"+
			"<AvailabilityZones><member>a</member></AvailabilityZones><Instances>%s</Instances></member></AutoScalingGroups>", name, c.desired[name], instances)
	case "DescribeScalingActivities":
		result = "<Activities></Activities>"
	case "DescribeInstanceRefreshes":
		result = "<InstanceRefreshes></InstanceRefreshes>"
	case "UpdateAutoScalingGroup":
		name, number := r.Form.Get("AutoScalingGroupName"), r.Form.Get("DesiredCapacity")
		c.updates = append(c.updates, name+"="+number)
		c.desired[name], _ = strconv.Atoi(number)
	default:
		http.Error(w, "unknown action "+action, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<%[1]sResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

// TestAWS has the stock agent with its own target set the capacity of a group of
// Amazon's, on a stub. What is wrong with another provider does not hinder it.
func TestAWS(t *testing.T) {
	amazon := &cloud{desired: map[string]int{}}
	stub := httptest.NewServer(amazon)
	defer stub.Close()
	t.Setenv("AWS_ENDPOINT_URL", stub.URL)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	s := newSite(t)
	group := func(name, region string) map[string]string {
		return map[string]string{"aws_asg_name": name, "aws_region": region}
	}
	reaches := func(name string, nodes int) {
		t.Helper()
		eventually(t, fmt.Sprintf("group %s has %d instances", name, nodes), func() bool {
			amazon.mu.Lock()
			defer amazon.mu.Unlock()
			return amazon.desired[name] == nodes
		})
	}
	s.add("gpu", muster.ProviderAWS, group("the-group", "eu-central-1"))
	s.add("broken", muster.ProviderAzure, map[string]string{"vm_scale_set": "nodes"}) // no credentials: its agent does not start
	s.want("gpu", 3)
	s.run(t)
	reaches("the-group", 3)
	s.add("other", muster.ProviderAWS, group("other-group", "us-east-1")) // the agent needs another target for that
	s.want("other", 2)
	reaches("other-group", 2)
	if got := strings.Join(amazon.updates, " "); got != "the-group=3 other-group=2" {
		t.Errorf("updates %s", got)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, ".agents", "*"))
	if err != nil || len(files) < 4 {
		t.Errorf("agents %v, %v: want one a provider", files, err)
	}
}
