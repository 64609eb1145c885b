//go:build arm64 || riscv64

package fakeroot

func legacyLinkCalls() []trap { return nil }
