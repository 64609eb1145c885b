package source

// The attributes of sources, as BuildKit writes them (solver/pb/attr.go of
// moby/buildkit v0.33.1). They are repeated here so that this package does not
// need BuildKit.
const (
	attrImageResolveMode = "image.resolvemode"
	attrImageRecordType  = "image.recordtype"
	attrImageLayerLimit  = "image.layerlimit"
	attrImageChecksum    = "image.checksum"

	attrLayoutSession    = "oci.session"
	attrLayoutStore      = "oci.store"
	attrLayoutLayerLimit = "oci.layerlimit"

	attrLocalSession       = "local.session"
	attrLocalUnique        = "local.unique"
	attrLocalInclude       = "local.includepattern"
	attrLocalExclude       = "local.excludepatterns"
	attrLocalFollow        = "local.followpaths"
	attrLocalSharedKeyHint = "local.sharedkeyhint"
	attrLocalDiffer        = "local.differ"
	attrLocalMetadataOnly  = "local.metadatatransfer"

	attrHTTPChecksum     = "http.checksum"
	attrHTTPFilename     = "http.filename"
	attrHTTPPerm         = "http.perm"
	attrHTTPUID          = "http.uid"
	attrHTTPGID          = "http.gid"
	attrHTTPAuthSecret   = "http.authheadersecret"
	attrHTTPHeaderPrefix = "http.header."

	attrGitKeepGitDir     = "git.keepgitdir"
	attrGitFullURL        = "git.fullurl"
	attrGitAuthHeader     = "git.authheadersecret"
	attrGitAuthToken      = "git.authtokensecret"
	attrGitKnownHosts     = "git.knownsshhosts"
	attrGitSSH            = "git.mountsshsock"
	attrGitChecksum       = "git.checksum"
	attrGitSkipSubmodules = "git.skipsubmodules"
	attrGitMTime          = "git.mtime"
	attrGitFetchByCommit  = "git.fetchbycommit"
	attrGitAdvice         = "git.advice"
)
