package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion SHELL", Short: "Write what lets bash, zsh, fish or powershell complete commands, devices and more",
		Long: `Write what lets a shell complete commands, flags, and what the verifier knows: devices by label or id, manifests, accounts
and so on. SHELL is bash, zsh, fish or powershell.`,
		Example: `  # bash: for this session, or for all
  source <(probity completion bash)
  probity completion bash > ~/.local/share/bash-completion/completions/probity

  # zsh, where ~/.zfunc is in $fpath
  probity completion zsh > ~/.zfunc/_probity

  # fish
  probity completion fish > ~/.config/fish/completions/probity.fish`,
		Args: need("SHELL"), ValidArgsFunction: first(fixed("bash", "zsh", "fish", "powershell")),
		RunE: func(cmd *cobra.Command, args []string) error {
			write, ok := map[string]func(w io.Writer) error{
				"bash":       func(w io.Writer) error { return cmd.Root().GenBashCompletionV2(w, true) },
				"zsh":        cmd.Root().GenZshCompletion,
				"fish":       func(w io.Writer) error { return cmd.Root().GenFishCompletion(w, true) },
				"powershell": cmd.Root().GenPowerShellCompletionWithDesc,
			}[args[0]]
			if !ok {
				return usagef(cmd, "shell %q: want bash, zsh, fish or powershell", args[0])
			}
			if err := write(a.stdout); err != nil {
				return fmt.Errorf("write completions: %w", err)
			}
			return nil
		},
	}
}
