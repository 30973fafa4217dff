package plugin

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	device "github.com/hashicorp/nomad/plugins/device/proto"
	attr "github.com/hashicorp/nomad/plugins/shared/structs/proto"
)

// fpga finds FPGAs in the kernel's sysfs: PCI cards of the vendors that make
// them, and what the kernel's FPGA classes show besides, such as the fabric of a
// system on a chip.
type fpga struct {
	log   hclog.Logger
	root  string  // of sysfs
	known []found // all that were ever seen
	said  bool    // that there are none
}

// devices returns one FPGA for each slot and each manager that no slot holds.
func (f *fpga) devices() []found {
	now, taken := f.cards()
	now = append(now, f.fabrics(taken)...)
	if len(now) == 0 && len(f.known) == 0 && !f.said {
		f.said = true
		f.log.Info("no FPGAs can be offered", "reason", "there are none in "+f.root)
	}
	f.known = remember(f.known, now)
	return f.known
}

// fabrics returns the FPGAs that the kernel's classes show outside the folders
// taken. Where there is a manager, regions are its parts.
func (f *fpga) fabrics(taken []string) (all []found) {
	for _, class := range []string{"fpga_manager", "fpga_region"} {
		for _, entry := range list(filepath.Join(f.root, "class", class)) {
			path := filepath.Join(f.root, "class", class, entry)
			at, err := filepath.EvalSymlinks(path)
			if err != nil {
				continue
			}
			// The device that it stands for lies two folders above it.
			owner := filepath.Dir(filepath.Dir(at))
			if !slices.ContainsFunc(taken, func(t string) bool { return owner == t || strings.HasPrefix(owner, t+"/") }) {
				taken, all = append(taken, owner), append(all, fabric(entry, path, owner))
			}
		}
		if len(all) > 0 {
			break
		}
	}
	return all
}

// remember returns the FPGAs of now with those that are missing.
func remember(known, now []found) []found {
	all := slices.Clone(now)
	for _, old := range known {
		if !slices.ContainsFunc(now, func(f found) bool { return f.id == old.id }) {
			old.trouble = "it is lost: the kernel does not list it any more"
			all = append(all, old)
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.id, b.id) })
	return all
}

// fpgaVendors are those that make FPGAs for the PCI bus.
var fpgaVendors = map[string]string{"0x10ee": "xilinx", "0x8086": "intel"}

// fpgaModels are the names of known cards, by vendor and device. A card may show
// two functions, the second for the programs that use it.
var fpgaModels = map[string]string{
	"0x10ee:0x5000": "Alveo U200", "0x10ee:0x5004": "Alveo U250", "0x10ee:0x500c": "Alveo U280", "0x10ee:0x5020": "Alveo U50", "0x10ee:0x505c": "Alveo U55C",
	"0x8086:0x09c4": "PAC Arria 10", "0x8086:0x0b2b": "PAC D5005", "0x8086:0x0b30": "PAC N3000",
}

// accelerator begins the PCI class of processing accelerators.
const accelerator = "0x12"

// isCard reports whether a PCI function is one of an FPGA: an accelerator of
// Xilinx, or one of Intel, which makes others too, that is known as an FPGA or
// that the kernel treats as one.
func isCard(path string) bool {
	vendor := word(path, "vendor")
	if fpgaVendors[vendor] == "" || !strings.HasPrefix(word(path, "class"), accelerator) {
		return false
	}
	treated := slices.ContainsFunc([]string{"fpga_manager", "fpga_region"}, func(class string) bool { return len(list(filepath.Join(path, class))) > 0 })
	return fpgaVendors[vendor] == "xilinx" || fpgaModels[vendor+":"+word(path, "device")] != "" || treated
}

// cards returns the FPGAs on the PCI bus, one for each slot, and the folders of
// their functions.
func (f *fpga) cards() (all []found, folders []string) {
	bus := filepath.Join(f.root, "bus", "pci", "devices")
	for _, address := range list(bus) {
		path := filepath.Join(bus, address)
		at, err := filepath.EvalSymlinks(path)
		if err != nil || !isCard(path) {
			continue
		}
		folders = append(folders, at)
		slot, _, _ := strings.Cut(address, ".")
		i := slices.IndexFunc(all, func(c found) bool { return strings.HasPrefix(c.bus, slot+".") })
		if i < 0 {
			vendor, model := word(path, "vendor"), word(path, "device")
			name := cmp.Or(fpgaModels[vendor+":"+model], "FPGA "+strings.TrimPrefix(model, "0x"))
			i, all = len(all), append(all, found{id: address, vendor: fpgaVendors[vendor], kind: kindFPGA, name: name, bus: address})
		}
		all[i].files = append(all[i].files, deviceFiles(at)...)
		all[i].trouble = cmp.Or(all[i].trouble, managerTrouble(at))
	}
	return all, folders
}

// fabric returns what a manager or region outside the PCI bus stands for.
func fabric(entry, path, owner string) found {
	compatible := word(owner, filepath.Join("of_node", "compatible"))
	maker, _, _ := strings.Cut(compatible, ",")
	vendor := map[string]string{"xlnx": "xilinx", "altr": "intel", "intel": "intel"}[maker]
	f := found{id: entry, vendor: cmp.Or(vendor, maker, "unknown"), kind: kindFPGA, name: cmp.Or(strings.ReplaceAll(word(path, "name"), "/", "-"), "FPGA"),
		files: deviceFiles(owner), trouble: stateTrouble(path)}
	if compatible != "" {
		f.attributes = map[string]*attr.Attribute{"compatible": text(compatible)}
	}
	return f
}

// managerTrouble looks at the managers below a card.
func managerTrouble(card string) (why string) {
	states, _ := filepath.Glob(filepath.Join(card, "fpga_manager", "*"))
	nested, _ := filepath.Glob(filepath.Join(card, "*", "fpga_manager", "*"))
	for _, path := range append(states, nested...) {
		why = cmp.Or(why, stateTrouble(path))
	}
	return why
}

// stateTrouble reads a manager's state: "operating", "write error", "power off",
// and its errors, if any.
func stateTrouble(path string) string {
	state, errs := word(path, "state"), word(path, "status")
	switch {
	case strings.Contains(state, "error") || state == "power off":
		return "its manager says: " + state
	case errs != "":
		return "its manager says: " + errs
	}
	return ""
}

// deviceFiles returns the files in /dev by which programs use a device: those
// that the kernel names below it. The ones that manage a card stay the node's.
func deviceFiles(folder string) (all []string) {
	_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "uevent" {
			return nil
		}
		text, _ := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			name, is := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME=")
			if is && !strings.HasPrefix(filepath.Base(name), "xclmgmt") {
				all = append(all, filepath.Join("/dev", name))
			}
		}
		return nil
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// list returns the names in a folder, none where there is no folder.
func list(folder string) (all []string) {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// word reads a file of sysfs as one line; "" where there is none.
func word(folder, name string) string {
	text, _ := os.ReadFile(filepath.Join(folder, name))
	line, _, _ := strings.Cut(strings.TrimRight(string(text), "\x00\n"), "\x00")
	return strings.Join(strings.Fields(line), " ")
}

// sample has nothing to tell: the kernel keeps no account of an FPGA's work.
func (f *fpga) sample(found) ([]reading, error) { return nil, nil }

// reserve gives a task the files of its FPGAs.
func (f *fpga) reserve(given []found) *device.ContainerReservation {
	res := &device.ContainerReservation{Envs: map[string]string{"FPGA_VISIBLE_DEVICES": ids(given)}}
	for _, g := range given {
		for _, path := range g.files {
			res.Devices = append(res.Devices, &device.DeviceSpec{TaskPath: path, HostPath: path, Permissions: "rw"})
		}
	}
	return res
}

func (f *fpga) close() {}
