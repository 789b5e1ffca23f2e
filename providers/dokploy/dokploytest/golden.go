package dokploytest

// What a recorded server answers beside the fields that tests vary.
const (
	goldenCompose = `{"composeType":"docker-compose","repository":null,"owner":null,"branch":null,"autoDeploy":true,"gitlabProjectId":null,"gitlabRepository":null,"gitlabOwner":null,"gitlabBranch":null,"gitlabPathNamespace":null,"bitbucketRepository":null,"bitbucketRepositorySlug":null,"bitbucketOwner":null,"bitbucketBranch":null,"giteaRepository":null,"giteaOwner":null,"giteaBranch":null,"customGitUrl":null,"customGitBranch":null,"customGitSSHKeyId":null,"command":"","enableSubmodules":false,"composePath":"./docker-compose.yml","suffix":"","randomize":false,"isolatedDeployment":false,"isolatedDeploymentsVolume":false,"triggerType":"push","icon":null,"watchPaths":null,"githubId":null,"gitlabId":null,"bitbucketId":null,"giteaId":null,"serverId":null,"serviceNetworks":[]}`
	goldenOne     = `{"deployments":[],"mounts":[],"domains":[],"github":null,"gitlab":null,"bitbucket":null,"gitea":null,"server":null,"backups":[],"hasGitProviderAccess":true,"unauthorizedProvider":null}`
	goldenRow     = `{"pid":null,"applicationId":null,"serverId":null,"isPreviewDeployment":false,"previewDeploymentId":null,"errorMessage":null,"scheduleId":null,"backupId":null,"rollbackId":null,"volumeBackupId":null,"buildServerId":null}`
)
