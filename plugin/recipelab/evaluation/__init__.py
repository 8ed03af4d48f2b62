"""The one choke point: a proposal in, a judged trial out."""
