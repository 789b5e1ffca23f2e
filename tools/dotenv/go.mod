module envctl/tools/dotenv

go 1.26.0

require (
	envctl v0.0.0
	github.com/hashicorp/go-envparse v0.1.0
)

replace envctl => ../..
