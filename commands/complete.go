package commands

import "context"

// completeWord is the hidden command that the shells' completion scripts call.
const completeWord = "__complete"

func (a *app) complete(context.Context, []string) {}
