package playbooks

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatience(t *testing.T) {
	t.Parallel()
	ctx, alive, cancel := patient(t.Context(), time.Hour)
	child, cancelChild := context.WithCancel(ctx)
	defer cancelChild()
	alive()
	if ctx.Err() != nil {
		t.Error(ctx.Err())
	}
	cancel()
	<-child.Done()
	if !errors.Is(ctx.Err(), context.Canceled) || !errors.Is(child.Err(), context.Canceled) {
		t.Error(ctx.Err(), child.Err())
	}

	ctx, _, cancel = patient(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error(ctx.Err())
	}

	parent, stop := context.WithCancel(t.Context())
	ctx, _, cancel = patient(parent, time.Hour)
	defer cancel()
	stop()
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error(ctx.Err())
	}
}

// Signs of life move the end on.
func TestPatienceOfALongRoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, alive, cancel := patient(t.Context(), time.Minute)
		defer cancel()
		for range 10 {
			time.Sleep(59 * time.Second)
			if ctx.Err() != nil {
				t.Fatal("it ended although there was life")
			}
			alive()
		}
		time.Sleep(61 * time.Second)
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error(ctx.Err())
		}
	})
}
