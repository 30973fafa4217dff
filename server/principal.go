package server

import (
	"cmp"
	"context"
	"slices"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/consul"
	"github.com/muster-ml/muster/scheduler/nomad"
)

// policies tells what rights this installation needs.
func (s *Server) policies(ctx context.Context) (*muster.Policies, error) {
	p := &muster.Policies{Installation: s.store.Installation, Mode: cmp.Or(s.Nomad.Mode, muster.NomadManage),
		Nomad: nomad.Policy(s.store.Installation), Autoscaler: nomad.AutoscalerPolicy, Consul: consul.Policy(s.store.Installation), ConsulAgents: consul.AgentsPolicy(s.store.Installation), Namespaces: []string{}}
	all, err := s.store.ListWorkspaces(ctx)
	for _, w := range all {
		p.Namespaces = append(p.Namespaces, w.Namespace)
	}
	return p, err
}

// runPrincipal finds out which run's code calls by a workload identity: its
// launch goes on, and its allocation has claimed an instance of it. It may do in
// its workspace what the API leaves to a run.
func (s *Server) runPrincipal(ctx context.Context, token string) (*muster.Principal, error) {
	alloc, err := s.nomad.Identify(ctx, token)
	if err != nil {
		return nil, err
	}
	launch, err := s.store.FindLaunch(ctx, alloc.Launch)
	if err != nil {
		return nil, err
	}
	claimed := slices.ContainsFunc(launch.Instances, func(in muster.Instance) bool { return in.AllocID == alloc.ID })
	if launch.State.Ended() || !claimed {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "this workload identity belongs to no run that goes on")
	}
	return &muster.Principal{Name: "run " + launch.Run, Run: launch.Run, RunID: launch.RunID,
		Grants: []muster.Grant{{Role: muster.RoleContributor, Workspace: launch.Workspace}}}, nil
}
