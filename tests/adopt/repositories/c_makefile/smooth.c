/* Smooths a picture many times, and tells how long that took. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SIZE 256
#define ROUNDS 1500
#define TILE_WIDTH 4

static double picture[SIZE][SIZE], next[SIZE][SIZE];

int main(void) {
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE; x++)
            picture[y][x] = sin(x * 0.1) * cos(y * 0.07);
    clock_t begin = clock();
    for (int round = 0; round < ROUNDS; round++) {
        for (int left = 1; left < SIZE - 1; left += TILE_WIDTH)
            for (int y = 1; y < SIZE - 1; y++)
                for (int x = left; x < left + TILE_WIDTH && x < SIZE - 1; x++)
                    next[y][x] = 0.25 * (picture[y - 1][x] + picture[y + 1][x] +
                                         picture[y][x - 1] + picture[y][x + 1]);
        for (int y = 1; y < SIZE - 1; y++)
            for (int x = 1; x < SIZE - 1; x++)
                picture[y][x] = next[y][x];
    }
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC, sum = 0;
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE; x++)
            sum += picture[y][x];
    printf("checksum=%.6f\nseconds=%.5f\n", sum, seconds);
    return 0;
}
