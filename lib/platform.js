'use strict';

// What this platform is called in the names of binaries and of the packages that hold them.

/**
 * Linux has two C libraries, and a binary for one does not load with the other. Which one counts
 * is a fact about this process, not about the files on the disk: Alpine can run a glibc Node, and
 * a musl `ldd` may lie around anywhere. Node reports the glibc version it runs on, if it does.
 */
function isMusl(report) {
  report.excludeNetwork = true; // or it looks up every interface's name
  return report.getReport().header.glibcVersionRuntime === undefined;
}

/** For example `linux-x64-gnu`, `linux-arm64-musl`, `darwin-arm64` or `win32-x64-msvc`. */
function platformName({ platform, arch, report } = process) {
  const name = `${platform}-${arch}`;
  if (platform === 'win32') return `${name}-msvc`;
  if (platform !== 'linux') return name;
  return `${name}-${isMusl(report) ? 'musl' : 'gnu'}${arch === 'arm' ? 'eabihf' : ''}`;
}

module.exports = { platformName };
