package cli

import "github.com/urfave/cli/v2"

// examples are how each verb is used; --help and the reference show them.
var examples = map[string][]string{
	"workspace create":      {"muster workspace create --default-cluster gpu vision"},
	"workspace update":      {"muster workspace update vision --keep-artifacts 90d --keep-logs 14d"},
	"retention run":         {"muster retention run --dry-run", "muster retention run --yes -w vision"},
	"run archive":           {"muster run archive try-1"},
	"run restore":           {"muster run restore try-1"},
	"workspace list":        {"muster workspace list -o wide"},
	"workspace show":        {"muster workspace show vision"},
	"experiment list":       {"muster experiment list --sort-by -runs"},
	"experiment show":       {"muster experiment show iris"},
	"experiment update":     {"muster experiment update iris --description 'Is a deeper tree better?'"},
	"experiment delete":     {"muster experiment delete iris --yes"},
	"workspace delete":      {"muster workspace delete vision --yes"},
	"run delete":            {"muster run delete try-1 try-2 --yes"},
	"experiment compare":    {"muster experiment compare iris --sort-by -metrics.accuracy", "muster experiment compare iris --metric accuracy --filter state=succeeded"},
	"run submit":            {"muster run submit job.yml --follow", "muster run submit a.yml b.yml", "muster run submit job.yml --set inputs.learning_rate=0.1 --name try-1 --wait"},
	"run list":              {"muster run list --state running --watch", "muster run list --tree", "muster run list -e iris --filter 'metrics.accuracy>0.9' --sort-by -metrics.accuracy -o wide"},
	"run show":              {"muster run show try-1", "muster run show try-1 -o yaml"},
	"run why":               {"muster run why try-1"},
	"run logs":              {"muster run logs -f try-1", "muster run logs try-1 --stream stderr --attempt 1", "muster run logs try-1 --rank 3 --since 10m --grep loss -t"},
	"run events":            {"muster run events try-1", "muster run events -f try-1"},
	"run metrics":           {"muster run metrics try-1 --metric loss", "muster run metrics try-1 --sort-by step -o json"},
	"run stats":             {"muster run stats try-1", "muster run stats try-1 --name gpu --plot", "muster run stats try-1 --name cpu --instance 0 -o json"},
	"run files":             {"muster run files try-1", "muster run files try-1 outputs -r --sort-by -size"},
	"run download":          {"muster run download try-1", "muster run download try-1 outputs/model.pt --dir models", "muster run download try-1 'outputs/**/*.pt'"},
	"run diff":              {"muster run diff try-1 try-2"},
	"run clone":             {"muster run clone try-1 --set inputs.learning_rate=0.05 --name try-3 --follow"},
	"config show":           {"muster config show"},
	"completion":            {"muster completion bash"},
	"top":                   {"muster top"},
	"doctor":                {"muster doctor", "muster doctor --filter state!=ok -o json"},
	"run cancel":            {"muster run cancel try-1 try-2"},
	"run wait":              {"muster run wait try-1", "muster run wait try-1 try-2"},
	"queue":                 {"muster queue --cluster gpu --watch=5s"},
	"node list":             {"muster node list --cluster gpu --filter state!=running"},
	"node show":             {"muster node show node-1"},
	"node logs":             {"muster node logs node-1"},
	"node exclude":          {"muster node exclude node-1 --reason 'its fan is loud'"},
	"node include":          {"muster node include node-1"},
	"node drain":            {"muster node drain node-1 --wait 30m"},
	"cluster secret set":    {"muster cluster secret set cheap PIP_TOKEN < token"},
	"cluster secret list":   {"muster cluster secret list cheap"},
	"cluster secret delete": {"muster cluster secret delete cheap PIP_TOKEN"},
	"cluster create":        {"muster cluster create --node-pool gpus gpu", "muster cluster create --provider local --size local.small --tier low_priority --max 4 --idle 30s cheap", "muster cluster create -f compute.yml --provider local"},
	"cluster update":        {"muster cluster update cheap --idle 5m --allow vision", "muster cluster update cheap --file compute.yml"},
	"cluster resize":        {"muster cluster resize cheap --min 1 --max 8"},
	"cluster pause":         {"muster cluster pause cheap"},
	"cluster resume":        {"muster cluster resume cheap"},
	"cluster delete":        {"muster cluster delete cheap --yes"},
	"cluster evict":         {"muster cluster evict cheap --nodes 1 --notice 30s", "muster cluster evict cheap --rate 20%/h --notice 30s"},
	"cluster events":        {"muster cluster events cheap --filter kind=node"},
	"cluster nodes":         {"muster cluster nodes cheap --filter state!=running"},
	"size list":             {"muster size list --filter family=NC", "muster size list --sort-by cores -o yaml"},
	"cluster list":          {"muster cluster list --filter 'ready>0' -o name"},
	"cluster show":          {"muster cluster show gpu"},
	"policies":              {"muster policies"},
	"registry login":        {"muster registry login --username ci registry.example:5000 < password"},
	"registry list":         {"muster registry list"},
	"registry logout":       {"muster registry logout registry.example:5000"},
	"login":                 {"muster login --addr https://muster.example.com --oidc", "muster login --addr https://muster.example.com --token - --context prod < token"},
	"logout":                {"muster logout --context prod"},
	"whoami":                {"muster whoami"},
	"context list":          {"muster context list"},
	"context show":          {"muster context show prod"},
	"context use":           {"muster context use prod"},
	"context delete":        {"muster context delete prod"},
	"token create":          {"muster token create --role contributor --expires 90d -w vision nightly", "muster token create --role administrator ops"},
	"token list":            {"muster token list --filter workspace=vision -o wide"},
	"token revoke":          {"muster token revoke nightly"},
	"audit":                 {"muster audit -w vision --limit 20", "muster audit --filter outcome=forbidden"},
	"server":                {"muster server --data-dir /var/lib/muster-server --nomad-addr https://nomad.example:4646 --advertise http://10.0.0.5:4750"},
	"dev":                   {"muster dev", "muster dev --ephemeral -- muster run submit --follow job.yml"},
	"version":               {"muster version"},
	"schema":                {"muster schema", "muster schema run"},
}

// exemplify puts a verb's examples below its description.
func exemplify(c *cli.Command, line string) {
	if len(examples[line]) == 0 {
		return
	}
	text := "Examples:"
	for _, example := range examples[line] {
		text += "\n   " + example
	}
	if c.Description != "" {
		c.Description += "\n\n"
	}
	c.Description += text
}
