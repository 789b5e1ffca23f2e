package commands

import "github.com/urfave/cli/v2"

// commands is the whole command line, in the order help shows it.
func (a *app) commands() []*cli.Command {
	return []*cli.Command{
		a.initCommand(), a.demoCommand(), a.trustCommand(), a.storeCommand(), a.demoServeCommand(),

		a.setCommand(), a.getCommand(), a.listCommand(), a.unsetCommand(), a.restoreCommand(), a.historyCommand(),
		a.diffCommand(), a.rollbackCommand(), a.generateCommand(), a.editCommand(), a.importCommand(), a.exportCommand(), a.renderCommand(), a.runCommand(),

		a.traceCommand(), a.checkCommand(), a.varsCommand(), a.varCommand(),

		a.rotateCommand(), a.deployCommand(), a.statusCommand(), a.logsCommand(), a.envCommand(),
		a.runsCommand(), a.resumeCommand(), a.undoCommand(),

		a.nameCommand(), a.namesCommand(), a.portCommand(),

		a.doctorCommand(), a.completionCommand(), a.versionCommand(),
	}
}
