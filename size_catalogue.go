package muster

// gib is in MiB.
const gib = 1024

// azure makes an entry of Azure's catalogue. The system's reserve is a tenth of
// the memory: a virtual machine shows less than its size says.
func azure(name, family string, cores int, memory int64, dedicated, low float64, devices ...SizeDevices) NodeSize {
	return NodeSize{Name: name, Family: family, Cores: cores, MiB: memory * gib, Reserve: memory * gib / 10, Devices: devices,
		Prices: map[Tier]float64{TierDedicated: dedicated, TierLowPriority: low}}
}

// local makes an entry for a part of one machine.
func local(name string, cores int, mib int64, devices ...SizeDevices) NodeSize {
	return NodeSize{Name: name, Family: "local", Cores: cores, MiB: mib, Devices: devices,
		Prices: map[Tier]float64{TierDedicated: 0, TierLowPriority: 0}}
}

// gpus are the GPUs of a size.
func gpus(count int, model string, memory int64) SizeDevices {
	return SizeDevices{Type: "gpu", Model: model, Count: count, MiB: memory * gib}
}

// BuiltinSizes is the catalogue that every server has. Cores, memory and devices
// are from Azure's pages of virtual machine sizes; prices are rounded list prices
// of East US, for Linux, there to compare sizes by: a site sets its own.
func BuiltinSizes() Sizes {
	all, err := Sizes{}.With(Sizes{
		azure("Standard_D2_v3", "Dv3", 2, 8, 0.096, 0.019),
		azure("Standard_D4_v3", "Dv3", 4, 16, 0.192, 0.038),
		azure("Standard_D8_v3", "Dv3", 8, 32, 0.384, 0.077),
		azure("Standard_DS3_v2", "DSv2", 4, 14, 0.229, 0.046),
		azure("Standard_DS11_v2", "DSv2", 2, 14, 0.149, 0.030),
		azure("Standard_DS12_v2", "DSv2", 4, 28, 0.299, 0.060),
		azure("Standard_E4s_v3", "Esv3", 4, 32, 0.252, 0.050),
		azure("Standard_E8s_v3", "Esv3", 8, 64, 0.504, 0.101),
		azure("Standard_F4s_v2", "Fsv2", 4, 8, 0.169, 0.034),
		azure("Standard_F16s_v2", "Fsv2", 16, 32, 0.677, 0.135),
		azure("Standard_NC6", "NC", 6, 56, 0.90, 0.18, gpus(1, "K80", 12)),
		azure("Standard_NC12", "NC", 12, 112, 1.80, 0.36, gpus(2, "K80", 12)),
		azure("Standard_NC24", "NC", 24, 224, 3.60, 0.72, gpus(4, "K80", 12)),
		azure("Standard_NC6s_v3", "NCSv3", 6, 112, 3.06, 0.61, gpus(1, "V100", 16)),
		azure("Standard_NC12s_v3", "NCSv3", 12, 224, 6.12, 1.22, gpus(2, "V100", 16)),
		azure("Standard_NC24s_v3", "NCSv3", 24, 448, 12.24, 2.45, gpus(4, "V100", 16)),
		azure("Standard_NC4as_T4_v3", "NCASv3_T4", 4, 28, 0.526, 0.105, gpus(1, "T4", 16)),
		azure("Standard_NC24ads_A100_v4", "NCADSA100v4", 24, 220, 3.67, 0.73, gpus(1, "A100", 80)),
		azure("Standard_ND6s", "ND", 6, 112, 2.07, 0.41, gpus(1, "P40", 24)),
		azure("Standard_ND40rs_v2", "NDrSv2", 40, 672, 22.03, 4.41, gpus(8, "V100", 32)),
		azure("Standard_ND96asr_v4", "NDASv4_A100", 96, 900, 27.20, 5.44, gpus(8, "A100", 40)),
		azure("Standard_NV6", "NV", 6, 56, 1.14, 0.23, gpus(1, "M60", 8)),
		azure("Standard_NV12", "NV", 12, 112, 2.28, 0.46, gpus(2, "M60", 8)),
		local("local.small", 1, 512),
		local("local.medium", 2, 2*gib),
		local("local.large", 4, 4*gib),
		local("local.gpu", 2, 2*gib, gpus(2, "K80", 12)),
		local("local.half", 2, 2*gib, SizeDevices{Type: "gpu", Model: "V100", Count: 1, MiB: 16 * gib, Shares: 2}),
	})
	if err != nil {
		panic(err)
	}
	return all
}
