package memory_test

import (
	"testing"
	"time"

	"envctl/providers"
	"envctl/providers/memory"
	"envctl/providers/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) providers.Store { return memory.New("tester", time.Now) })
}

func TestContractWhenTheClockStands(t *testing.T) {
	now := time.Now()
	storetest.Harness{
		Open:  func(*testing.T) providers.Store { return memory.New("tester", func() time.Time { return now }) },
		Still: true,
	}.Run(t)
}
