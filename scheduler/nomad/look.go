package nomad

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
)

// Look lists allocations, the installation's dispatched jobs and the nodes, in
// this order: a job or node whose allocation was listed can be missing only
// because it is gone.
func (n *Nomad) Look(ctx context.Context) (*muster.Sight, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*n.limit) // it lists everything
	defer cancel()
	s := &muster.Sight{At: time.Now()}
	allocs, _, err := n.api.Allocations().List((&api.QueryOptions{Namespace: api.AllNamespacesNamespace, Params: map[string]string{"resources": "true"}}).WithContext(ctx))
	if err != nil {
		return nil, unreachable("list allocations", err)
	}
	for _, stub := range allocs {
		if a := n.seenAlloc(stub); a.Ours && !a.NodeAgent || !a.Ended() {
			s.Allocs = append(s.Allocs, a)
		}
	}
	jobs, _, err := n.api.Jobs().List((&api.QueryOptions{Namespace: api.AllNamespacesNamespace, Prefix: jobspecs.Prefix(n.installation), Params: map[string]string{"meta": "true"}}).WithContext(ctx))
	if err != nil {
		return nil, unreachable("list jobs", err)
	}
	for _, stub := range jobs {
		if cluster, ours := strings.CutPrefix(stub.ID, jobspecs.NodeJobPrefix(n.installation)); ours && stub.Namespace == jobspecs.NodeNamespace(n.installation) {
			s.NodeJobs = append(s.NodeJobs, muster.SeenNodeJob{Cluster: cluster, Digest: stub.Meta[jobspecs.DigestMeta], Stopped: stub.Stop})
		}
		if stub.ParentID != "" {
			s.Jobs = append(s.Jobs, muster.SeenJob{ID: stub.ID, Namespace: stub.Namespace,
				Launch: stub.Meta[muster.LaunchMeta], Status: stub.Status, Stopped: stub.Stop})
		}
	}
	nodes, _, err := n.api.Nodes().List((&api.QueryOptions{Params: map[string]string{"resources": "true", "os": "true"}}).WithContext(ctx))
	if err != nil {
		return nil, unreachable("list nodes", err)
	}
	for _, stub := range nodes {
		s.Nodes = append(s.Nodes, seenNode(stub))
	}
	return s, nil
}

// seenNode reads a node as Nomad lists it.
func seenNode(stub *api.NodeListStub) muster.SeenNode {
	n := muster.SeenNode{
		ID: stub.ID, Name: stub.Name, Pool: stub.NodePool, Status: stub.Status,
		Eligible: stub.SchedulingEligibility == api.NodeSchedulingEligible, Draining: stub.Drain, OS: stub.Attributes["os.name"],
	}
	if d := stub.LastDrain; d != nil && d.Status == api.DrainStatusComplete {
		n.DrainedAt = d.UpdatedAt
	}
	if r := stub.NodeResources; r != nil {
		n.Cores = muster.Whole(int64(r.Cpu.TotalCpuCores))
		n.Total = muster.Resources{MHz: muster.Whole(r.Cpu.CpuShares), MiB: muster.Whole(r.Memory.MemoryMB), DiskMiB: muster.Whole(r.Disk.DiskMB)}
		for _, d := range r.Devices {
			all := muster.Devices{Vendor: d.Vendor, Type: d.Type, Name: d.Name, Count: muster.Whole(int64(len(d.Instances)))}
			n.Total.Devices = append(n.Total.Devices, all)
			sick := all
			sick.Count = 0
			for _, i := range d.Instances {
				if !i.Healthy {
					sick.Count = sick.Count.Add(muster.Whole(1))
				}
			}
			if sick.Count > 0 {
				n.Unhealthy = append(n.Unhealthy, sick)
				n.Notes = append(n.Notes, fmt.Sprintf("devices %s: %s of %s unhealthy", all.ID(), sick.Count, all.Count))
			}
		}
		slices.SortFunc(n.Total.Devices, func(a, b muster.Devices) int { return cmp.Compare(a.ID(), b.ID()) })
	}
	if exec := stub.Drivers["exec"]; exec != nil && strings.Contains(exec.HealthDescription, "root") {
		n.Notes = append(n.Notes, "the Nomad client is not root: commands run as its user, without private mounts, and on cgroup v1 without a memory limit")
	}
	if raw := stub.Drivers["raw_exec"]; raw == nil || !raw.Healthy {
		n.Unusable = true
		n.Notes = append(n.Notes, "the Nomad client has no raw_exec driver: no run can start here (plugin \"raw_exec\" { config { enabled = true } })")
	}
	if docker := stub.Drivers["docker"]; docker != nil && docker.Detected {
		if n.Engine = docker.Healthy; !n.Engine {
			n.Notes = append(n.Notes, "no container can start here: docker: "+docker.HealthDescription)
		}
	}
	if r := stub.ReservedResources; r != nil {
		n.Total = n.Total.Sub(muster.Resources{MHz: muster.Whole(int64(r.Cpu.CpuShares)), MiB: muster.Whole(int64(r.Memory.MemoryMB)), DiskMiB: muster.Whole(int64(r.Disk.DiskMB))})
	}
	return n
}

// seenAlloc reads an allocation as Nomad lists it.
func (n *Nomad) seenAlloc(stub *api.AllocationListStub) muster.SeenAlloc {
	a := muster.SeenAlloc{
		ID: stub.ID, JobID: stub.JobID, Namespace: stub.Namespace, Group: stub.TaskGroup, Index: allocIndex(stub.Name),
		Ours:      strings.HasPrefix(stub.JobID, jobspecs.Prefix(n.installation)),
		NodeAgent: strings.HasPrefix(stub.JobID, jobspecs.NodeJobPrefix(n.installation)),
		NodeID:    stub.NodeID, NodeName: stub.NodeName,
		Client: stub.ClientStatus, Desired: stub.DesiredStatus, Why: stub.DesiredDescription,
		Created: time.Unix(0, stub.CreateTime),
	}
	if r := stub.AllocatedResources; r != nil {
		a.Used.DiskMiB = muster.Whole(r.Shared.DiskMB)
		for _, t := range r.Tasks {
			used := muster.Resources{MHz: muster.Whole(t.Cpu.CpuShares), MiB: muster.Whole(t.Memory.MemoryMB)}
			for _, d := range t.Devices {
				used.Devices = append(used.Devices, muster.Devices{Vendor: d.Vendor, Type: d.Type, Name: d.Name, Count: muster.Whole(int64(len(d.DeviceIDs)))})
				a.Devices = append(a.Devices, d.DeviceIDs...)
			}
			a.Used = a.Used.Add(used)
		}
	}
	for _, state := range stub.TaskStates {
		readTask(&a, state)
	}
	return a
}

// readTask reads from a task's events how it ended.
func readTask(a *muster.SeenAlloc, state *api.TaskState) {
	for _, e := range state.Events {
		switch e.Type {
		case api.TaskTerminated:
			a.ExitCode, _ = strconv.Atoi(e.Details["exit_code"])
			a.Signal, _ = strconv.Atoi(e.Details["signal"])
			if m := e.Details["exit_message"]; m != "" && a.Failure == "" {
				a.Failure = m
			}
		case api.TaskDriverMessage:
			a.Doing = e.DisplayMessage
		case api.TaskSetupFailure, api.TaskDriverFailure, api.TaskArtifactDownloadFailed, api.TaskFailedValidation:
			a.Unfetched = a.Unfetched || e.Type == api.TaskArtifactDownloadFailed
			a.Failure = fmt.Sprintf("%s: %s", strings.ToLower(e.Type), e.DisplayMessage)
		}
	}
}

// allocIndex reads the index from an allocation's name, job.group[index].
func allocIndex(name string) int {
	_, after, _ := strings.Cut(name[strings.LastIndexByte(name, '.')+1:], "[")
	i, _ := strconv.Atoi(strings.TrimSuffix(after, "]"))
	return i
}
