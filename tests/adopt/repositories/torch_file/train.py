"""Train a small network on two spirals, and print the validation loss."""

import csv

import torch
from torch import nn

# model
HIDDEN = 24
LAYERS = 2
DROPOUT = 0.0
# optimization
LEARNING_RATE = 0.3
WEIGHT_DECAY = 1e-4
BATCH_SIZE = 64
EPOCHS = 6
# system
SEED = 1337
DATA = "data/spirals.csv"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [2] + [HIDDEN] * LAYERS
        layers = []
        for wide, narrow in zip(sizes, sizes[1:]):
            layers += [nn.Linear(wide, narrow), nn.GELU(), nn.Dropout(DROPOUT)]
        self.layers = nn.Sequential(*layers, nn.Linear(HIDDEN, 2))

    def forward(self, points):
        return self.layers(points)


def load():
    with open(DATA) as file:
        rows = [[float(cell) for cell in row] for row in csv.reader(file)]
    table = torch.tensor(rows)
    return table[:, :2], table[:, 2].long()


def main():
    torch.manual_seed(SEED)
    points, labels = (part.to(DEVICE) for part in load())
    held = torch.arange(len(points)) % 5 == 0
    train_x, train_y = points[~held], labels[~held]
    net = Net().to(DEVICE)
    for epoch in range(EPOCHS):
        net.train()
        for batch in torch.randperm(len(train_x)).split(BATCH_SIZE):
            loss = nn.functional.cross_entropy(net(train_x[batch]), train_y[batch])
            net.zero_grad()
            loss.backward()
            with torch.no_grad():
                for weight in net.parameters():
                    weight -= LEARNING_RATE * (weight.grad + WEIGHT_DECAY * weight)
        net.eval()
        with torch.no_grad():
            val_loss = nn.functional.cross_entropy(net(points[held]), labels[held])
        print(f"epoch {epoch} | train_loss {loss.item():.4f} | val_loss {val_loss.item():.4f}")
    torch.save(net.state_dict(), "model.pt")


if __name__ == "__main__":
    main()
