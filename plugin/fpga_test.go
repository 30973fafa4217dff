package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// sysfs makes a sysfs with two cards, of which one shows two functions, an
// accelerator that is no FPGA, a network card, and a system on a chip.
func (p *peer) sysfs() string {
	p.Helper()
	root := p.TempDir()
	function := func(address, vendor, model, class string, files ...string) string {
		at := filepath.Join(root, "devices", "pci0000:3a", address)
		for name, text := range map[string]string{"vendor": vendor, "device": model, "class": class} {
			p.put(filepath.Join(at, name), text+"\n")
		}
		for _, f := range files {
			p.put(filepath.Join(at, "sub", filepath.Base(f), "uevent"), "MAJOR=226\nDEVNAME="+f+"\n")
		}
		p.link(filepath.Join(root, "bus", "pci", "devices", address), at)
		return at
	}
	function("0000:3b:00.0", "0x10ee", "0x5004", "0x120000", "xclmgmt15104")
	function("0000:3b:00.1", "0x10ee", "0x5005", "0x120000", "dri/renderD128", "dri/card1")
	intel := function("0000:5e:00.0", "0x8086", "0x0b2b", "0x120000", "dfl-port.0")
	function("0000:00:0b.0", "0x8086", "0x7d1d", "0x120000", "accel/accel0")
	function("0000:01:00.0", "0x10ee", "0x903f", "0x020000")
	// The card's own manager shows in the class, too, and is no second FPGA.
	p.put(filepath.Join(intel, "fpga_manager", "fpga1", "state"), "operating\n")
	p.link(filepath.Join(root, "class", "fpga_manager", "fpga1"), filepath.Join(intel, "fpga_manager", "fpga1"))
	chip := filepath.Join(root, "devices", "soc0", "f8007000.devcfg")
	p.put(filepath.Join(chip, "of_node", "compatible"), "xlnx,zynq-devcfg-1.0\x00")
	p.put(filepath.Join(chip, "fpga_manager", "fpga0", "name"), "Xilinx Zynq FPGA Manager\n")
	p.put(filepath.Join(chip, "fpga_manager", "fpga0", "state"), "operating\n")
	p.link(filepath.Join(root, "class", "fpga_manager", "fpga0"), filepath.Join(chip, "fpga_manager", "fpga0"))
	region := filepath.Join(root, "devices", "soc0", "fpga-full", "fpga_region", "region0")
	p.put(filepath.Join(region, "uevent"), "")
	p.link(filepath.Join(root, "class", "fpga_region", "region0"), region)
	return root
}

// link makes a symbolic link and the folders above it.
func (p *peer) link(from, to string) {
	p.Helper()
	p.must(os.MkdirAll(filepath.Dir(from), 0o755))
	p.must(os.Symlink(to, from))
}

// TestFPGA finds FPGAs in a made sysfs, reserves one, breaks one and takes one out.
func TestFPGA(t *testing.T) {
	p := serve(t)
	root := p.sysfs()
	p.must(p.configure(block{"fpga": block{"sysfs": root}}))
	next := p.watch()
	groups := next()
	want := "xilinx/fpga/Alveo U250 0000:3b:00.0\nintel/fpga/PAC D5005 0000:5e:00.0\nxilinx/fpga/Xilinx Zynq FPGA Manager fpga0"
	if got := describe(groups); got != want {
		t.Errorf("it offers\n%s\nwant\n%s", got, want)
	}
	if bus := groups[0].GetDevices()[0].GetHwLocality().GetPciBusId(); bus != "0000:3b:00.0" {
		t.Errorf("the card sits at %q", bus)
	}
	res, err := p.reserve("0000:3b:00.0")
	p.must(err)
	if got := environment(res); got != "FPGA_VISIBLE_DEVICES=0000:3b:00.0 MUSTER_DEVICES=0000:3b:00.0" {
		t.Errorf("the environment is %s", got)
	}
	var files []string
	for _, d := range res.GetDevices() {
		files = append(files, d.GetHostPath()+" "+d.GetTaskPath()+" "+d.GetPermissions())
	}
	if got := strings.Join(files, ", "); got != "/dev/dri/card1 /dev/dri/card1 rw, /dev/dri/renderD128 /dev/dri/renderD128 rw" {
		t.Errorf("the files are %s", got)
	}
	p.put(filepath.Join(root, "devices", "pci0000:3a", "0000:5e:00.0", "fpga_manager", "fpga1", "state"), "write error\n")
	if got := describe(next()); !strings.Contains(got, "0000:5e:00.0 (its manager says: write error)") {
		t.Errorf("with a failed write it offers\n%s", got)
	}
	p.put(filepath.Join(root, "devices", "pci0000:3a", "0000:5e:00.0", "fpga_manager", "fpga1", "state"), "operating\n")
	if got := describe(next()); got != want {
		t.Errorf("written again it offers\n%s", got)
	}
	p.must(os.Remove(filepath.Join(root, "class", "fpga_manager", "fpga0")))
	p.must(os.Remove(filepath.Join(root, "class", "fpga_region", "region0")))
	got := describe(next())
	if strings.Contains(got, "region0") { // the look fell between the two
		got = describe(next())
	}
	if !strings.Contains(got, "fpga0 (it is lost: the kernel does not list it any more)") {
		t.Errorf("without the manager it offers\n%s", got)
	}
}

// TestNoFPGA looks where there is no sysfs at all, and says so once.
func TestNoFPGA(t *testing.T) {
	var said strings.Builder
	f := &fpga{root: t.TempDir(), log: hclog.New(&hclog.LoggerOptions{Output: &said})}
	for range 3 {
		if all := f.devices(); len(all) != 0 {
			t.Errorf("it finds %v", all)
		}
	}
	if n := strings.Count(said.String(), "no FPGAs can be offered"); n != 1 {
		t.Errorf("it says %d times that there are none:\n%s", n, said.String())
	}
}
