package plan_test

func childMain() {}
